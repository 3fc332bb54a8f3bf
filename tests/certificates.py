"""An authority of certificates, and files of those that it signs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import trustme


class Pair(NamedTuple):
    """A certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """An authority, whose files lie in a folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.file = folder / f"{name}.pem"
        self._authority.cert_pem.write_to_path(self.file)

    def sign(self, name: str, *hosts: str, is_expired: bool = False) -> Pair:
        """A new certificate for some hosts."""
        end = datetime.now(UTC) - timedelta(days=1) if is_expired else None
        signed = self._authority.issue_cert(*hosts, not_after=end)
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        pair.certificate.write_bytes(b"".join(one.bytes() for one in signed.cert_chain_pems))
        signed.private_key_pem.write_to_path(pair.key)
        return pair
