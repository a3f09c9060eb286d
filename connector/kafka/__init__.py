"""Topics, transactions, schemas and bytes. Knows neither the state file nor the export API."""
