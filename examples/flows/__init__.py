"""Flows that people recognise, in Windmill's layout below f/, and the services that they call."""
