"""Calls of the export API: tokens, transport, connections, allowed hosts, rate limits."""
