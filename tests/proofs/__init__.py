"""Long proofs: programs that try to break the guarantee and count what they find."""
