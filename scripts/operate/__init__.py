"""The program at the desk: publish, watch and scale what runs on the machines."""
