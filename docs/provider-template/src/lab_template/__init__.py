"""Machines of a cloud, for aiinfra-lab: `%gpu start NAME --on template`."""
