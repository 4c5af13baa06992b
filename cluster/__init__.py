"""What everything leans on and how it is run: settings, stores, gateways, bridge, controller, CLI."""
