"""Point clouds: `config` has the settings and `Points`, `cloud` prepares the points, `encoder` is the network."""
