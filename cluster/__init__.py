"""What everything leans on, and how it is run: settings, stores, bridge, controller, CLI."""
