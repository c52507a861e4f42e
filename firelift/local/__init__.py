"""Services that `firelift demo`, the tests and the benchmarks start on this machine."""

from __future__ import annotations

import os

# A server that runs under another account is started by fork and exec. With fork support on, gRPC's threads wake up between the
# two and find their files closed, and now and then the server does not start. gRPC reads this when it is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
