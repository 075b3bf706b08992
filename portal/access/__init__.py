"""Who signs in and what they may do: registration, guests, sign-in history, staff who look as a customer."""
