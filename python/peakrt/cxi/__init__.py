"""The CXI file: its columns, writing, reading, and joining."""
