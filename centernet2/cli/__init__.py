"""The command ``centernet2``: options, messages and exit statuses; the work is done below."""
