"""Stand in for the calibration service of LCLS on a loopback port: python calibration.py FOLDER PORT_FILE

Serves FOLDER/constants.npz to psana2, which is told by LCLS_CALIB_HTTP. At the facility this is not needed.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlparse

import numpy as np


def load(path: Path) -> dict[str, np.ndarray | str]:
    """Constants by type; the geometry is a text."""
    with np.load(path, allow_pickle=False) as file:
        return {name: str(file[name]) if name == "geometry" else file[name] for name in file.files}


def documents(constants: dict, ids: dict[str, str], detector: str) -> list[dict]:
    """What the service's database says of each constant."""
    out = []
    for k, (name, value) in enumerate(constants.items()):
        entry = {
            "_id": f"{k + 100:024x}", "ctype": name, "id_data": ids[name], "run": 1, "run_beg": 1, "run_end": "end",
            "detector": detector, "shortname": detector, "experiment": "simulated", "time_sec": 1,
            "time_stamp": "2026-01-01T00:00:00-0800", "version": "1", "data_type": "str",
        }  # fmt: skip
        if not isinstance(value, str):
            entry.update(data_type="ndarray", data_dtype=str(value.dtype), data_shape=str(value.shape), data_ndim=value.ndim, data_size=value.size)  # fmt: skip
        out.append(entry)
    return out


def main() -> None:
    constants = load(Path(sys.argv[1]) / "constants.npz")
    ids = {name: f"{k + 1:024x}" for k, name in enumerate(constants)}
    by_id = {identity: constants[name] for name, identity in ids.items()}

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Stay silent."""

        def do_GET(self) -> None:
            parts = [part for part in urlparse(self.path).path.split("/") if part]
            parts = parts[parts.index("calib_ws") + 1 :] if "calib_ws" in parts else parts
            if len(parts) >= 3 and parts[1] == "gridfs":
                value = by_id[parts[2]]
                body = value.encode() if isinstance(value, str) else value.tobytes()
            elif len(parts) == 2 and parts[0] == "cdb_detnames":
                name = {
                    "_id": "6" * 24,
                    "short": f"{parts[1]}_000001",
                    "long": "simulated",
                    "time_stamp": "t",
                    "seqnumber": 1,
                }
                body = json.dumps([name]).encode()
            else:
                body = json.dumps(documents(constants, ids, parts[1]) if len(parts) == 2 else []).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Path(sys.argv[2]).write_text(str(server.server_address[1]))
    server.serve_forever()


if __name__ == "__main__":
    main()
