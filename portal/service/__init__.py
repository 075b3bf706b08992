"""What a utility tells its customers and does for them: banners, contacts, requests with their status."""
