"""Components and a command for gimp-plugin."""
