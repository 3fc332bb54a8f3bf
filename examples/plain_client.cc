// Track candidates from a server, by gRPC alone: what a framework in C++ would do.
//
//   plain_client HOST:PORT POINTS [IDENTITY]
//
// POINTS has x, y, z of each space point (mm) as float32. docs/frameworks.md says how to build it,
// and explains the tensors. Both machines are little endian, as the protocol is.
#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "grpc_service.grpc.pb.h"

// The bytes of an output; the server sends them in an order of its own.
std::string bytes_of(const inference::ModelInferResponse& answer, const std::string& name) {
  for (int i = 0; i < answer.outputs_size(); ++i)
    if (answer.outputs(i).name() == name) return answer.raw_output_contents(i);
  return {};
}

template <typename T>
std::vector<T> values(const std::string& bytes) {
  std::vector<T> found(bytes.size() / sizeof(T));
  std::memcpy(found.data(), bytes.data(), found.size() * sizeof(T));
  return found;
}

int main(int count, char** arguments) {
  std::ifstream file(arguments[2], std::ios::binary);
  const std::string points{std::istreambuf_iterator<char>(file), {}};
  inference::ModelInferRequest request;
  request.set_model_name("exatrkx");
  if (count > 3) (*request.mutable_parameters())["identity"].set_string_param(arguments[3]);
  auto* input = request.add_inputs();
  input->set_name("points");
  input->set_datatype("FP32");
  input->add_shape(points.size() / 12);
  input->add_shape(3);
  request.add_raw_input_contents(points);
  for (const auto* name :
       {"candidates_points", "candidates_points_offsets", "candidates_score", "identity"})
    request.add_outputs()->set_name(name);

  grpc::ChannelArguments settings;
  settings.SetMaxReceiveMessageSize(-1);
  const auto channel =
      grpc::CreateCustomChannel(arguments[1], grpc::InsecureChannelCredentials(), settings);
  const auto stub = inference::GRPCInferenceService::NewStub(channel);
  grpc::ClientContext context;
  inference::ModelInferResponse answer;
  const auto status = stub->ModelInfer(&context, request, &answer);
  if (!status.ok()) {
    std::cerr << status.error_message() << "\n";
    return 1;
  }
  const auto rows = values<std::int32_t>(bytes_of(answer, "candidates_points"));
  const auto offsets = values<std::int64_t>(bytes_of(answer, "candidates_points_offsets"));
  const auto scores = values<float>(bytes_of(answer, "candidates_score"));
  std::cout << "by " << bytes_of(answer, "identity") << "\n" << std::fixed;
  std::cout.precision(3);
  for (std::size_t track = 0; track < scores.size(); ++track) {
    std::cout << scores[track];
    for (auto row = offsets[track]; row < offsets[track + 1]; ++row) std::cout << " " << rows[row];
    std::cout << "\n";
  }
}
