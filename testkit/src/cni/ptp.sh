#!/bin/sh
# A CNI plugin: a veth and a route for each address, as ptp plugins make them. Addresses come in CNI_ARGS, which is where
# the specification lets a runtime ask for some: IP4, IP6; HOST_IF, HOST_MAC and POD_MAC fit them to the address plan.
set -eu

fail() {
    printf '{"cniVersion":"1.0.0","code":100,"msg":"testkit-ptp: %s"}\n' "$1"
    exit 1
}
argument() {
    value=$(printf '%s' "$CNI_ARGS" | tr ';' '\n' | sed -n "s/^$1=//p")
    [ -n "$value" ] || fail "CNI_ARGS has no $1"
    printf '%s' "$value"
}
set_switch() {
    echo "$2" >"/proc/sys/net/$1" || fail "cannot set $1"
}

case ${CNI_COMMAND:-} in
VERSION)
    echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}'
    exit
    ;;
CHECK | STATUS | GC) exit ;;
DEL)
    # Both ends go. There may be none, from an ADD that failed.
    nsenter --net="$CNI_NETNS" ip link del "$CNI_IFNAME" 2>/dev/null || :
    exit
    ;;
ADD) ;;
*) fail "no command" ;;
esac

cat >/dev/null # the configuration has nothing for us
ip4=$(argument IP4) ip6=$(argument IP6) host=$(argument HOST_IF)
host_mac=$(argument HOST_MAC) pod_mac=$(argument POD_MAC)
said=$(
    {
        ip link add "$host" address "$host_mac" type veth peer name "$CNI_IFNAME" address "$pod_mac" \
            netns "$(basename "$CNI_NETNS")"
        set_switch "ipv4/conf/$host/proxy_arp" 1
        set_switch "ipv6/conf/$host/proxy_ndp" 1
        set_switch "ipv4/neigh/$host/proxy_delay" 0
        set_switch "ipv6/neigh/$host/proxy_delay" 0
        ip -batch - <<-LINES
			addr add fe80::1/64 dev $host nodad
			link set $host up
			route add $ip4/32 dev $host
			route add $ip6/128 dev $host
		LINES
        nsenter --net="$CNI_NETNS" ip -batch - <<-LINES
			link set lo up
			link set $CNI_IFNAME up
			addr add $ip4/32 dev $CNI_IFNAME
			addr add $ip6/128 dev $CNI_IFNAME nodad
			route add 169.254.1.1 dev $CNI_IFNAME scope link
			route add default via 169.254.1.1 dev $CNI_IFNAME
			route add ::/0 via fe80::1 dev $CNI_IFNAME
		LINES
    } 2>&1
) || fail "$(printf '%s' "$said" | tr '\n"' '; ')"
cat <<RESULT
{
  "cniVersion": "1.0.0",
  "interfaces": [
    {"name": "$host", "mac": "$host_mac"},
    {"name": "$CNI_IFNAME", "mac": "$pod_mac", "sandbox": "$CNI_NETNS"}
  ],
  "ips": [{"interface": 1, "address": "$ip4/32"}, {"interface": 1, "address": "$ip6/128"}],
  "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "::/0", "gw": "fe80::1"}]
}
RESULT
