"""From sources to bytes: what goes in, tar and gzip streams, the manifest, size estimates."""
