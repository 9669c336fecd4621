"""The viewer: recordings in a browser. It presents what the analyzer returns, and adds nothing to it."""
