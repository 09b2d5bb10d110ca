"""How near every op is to the exact result, in both modes: what docs/parity.md says, measured."""
