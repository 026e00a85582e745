"""Public gateway of a venue: REST, WebSocket and the dashboard, beside the slot path."""
