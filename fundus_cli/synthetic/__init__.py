"""The generator of synthetic fundus images, with exact vessel masks."""
