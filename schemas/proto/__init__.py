"""Protocol buffers. ``*_pb2*`` are generated from ``*.proto`` by ``make proto``; do not edit."""
