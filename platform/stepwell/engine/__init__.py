"""Durable execution: journal, fold, turns, timers, events, hibernation. Knows no git and no CI."""
