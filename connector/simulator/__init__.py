"""An evolving fleet, and Defender's export API over HTTPS, for demos and tests. Needs the extra `simulator`."""
