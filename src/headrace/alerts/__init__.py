"""Telling people: channels, and what is said through them.

Enters: a channel and a notice. Leaves: an e-mail, a call of a webhook, a message in Slack. It decides nothing: when an
alert is raised is the business of its rules.
"""
