# User data of every GPU machine. Whoever launches one puts a first line `#!/bin/sh` and these variables before it:
# expires_at (RFC 3339), and, empty where there are none: mig (profiles), ssh_keys (a line each) and their user.

# Before anything that could fail or take long: the end. Shutting down ends the machine for good, see its launch.
at=$(date -ud "$expires_at" +%s) || at=0
left=$((at - $(date +%s)))
[ "$left" -gt 0 ] || left=0
shutdown -h "+$(((left + 59) / 60))"

# The same to the second, and after a reboot.
units="${AIINFRA_UNITS:-/etc/systemd/system}"
cat >"$units/aiinfra-deadline.service" <<'UNIT'
[Unit]
Description=End this machine at its deadline

[Service]
Type=oneshot
ExecStart=/usr/bin/env systemctl poweroff
UNIT
cat >"$units/aiinfra-deadline.timer" <<UNIT
[Unit]
Description=The deadline of this machine

[Timer]
OnCalendar=$(date -ud "@$at" '+%F %T') UTC
AccuracySec=1s
Persistent=true

[Install]
WantedBy=timers.target
UNIT
systemctl daemon-reload
systemctl enable --now aiinfra-deadline.timer

set -eu
if [ -n "$ssh_keys" ]; then
    home=$(getent passwd "$user" | cut -d: -f6)
    install -d -m 700 -o "$user" "$home/.ssh"
    echo "$ssh_keys" >>"$home/.ssh/authorized_keys"
fi
if [ -n "$mig" ]; then
    nvidia-smi -mig 1
    nvidia-smi mig -cgi "$mig" -C
fi
