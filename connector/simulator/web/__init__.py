"""The export API, its authority and its storage, over HTTPS."""
