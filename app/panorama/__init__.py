"""The sample service: people upload overlapping photos, a C++ program makes one panorama."""
