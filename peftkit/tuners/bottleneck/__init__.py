"""Bottleneck adapters: small two-layer networks beside or after the blocks of a frozen transformer."""
