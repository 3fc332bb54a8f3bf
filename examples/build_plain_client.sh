#!/bin/sh
# Build plain_client from plain_client.cc, in the folder that is given.
#
# On Debian: apt install g++ pkg-config libgrpc++-dev protobuf-compiler-grpc; and a Python with
# tritonclient, which carries the protocol.
set -e
source=$(cd "$(dirname "$0")" && pwd)/plain_client.cc
cd "$1"
${PYTHON:-python3} - <<'END'
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tritonclient.grpc.service_pb2 import DESCRIPTOR

protocol = FileDescriptorSet()
for file in (*DESCRIPTOR.dependencies, DESCRIPTOR):
    file.CopyToProto(protocol.file.add())
with open("protocol.pb", "wb") as out:
    out.write(protocol.SerializeToString())
END
protoc --descriptor_set_in=protocol.pb --cpp_out=. --grpc_out=. \
    --plugin=protoc-gen-grpc="$(command -v grpc_cpp_plugin)" grpc_service.proto model_config.proto
${CXX:-g++} -std=c++17 -I. "$source" grpc_service.pb.cc grpc_service.grpc.pb.cc model_config.pb.cc \
    $(pkg-config --cflags --libs grpc++ protobuf) -o plain_client
