"""Files of traces: HDF5, the program's own, and one module per format for other tools."""
