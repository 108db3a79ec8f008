package lab

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// FreePort gives a TCP port of the loopback interface that nothing listens on, for a process to be started, and that no other test is
// given until this one ends. It is none of those that the kernel gives to outgoing connections (net.ipv4.ip_local_port_range
// begins at 32768), nor one of a cluster's (test/cluster/env.sh).
func FreePort(t testing.TB) int {
	t.Helper()
	port, release, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return port
}

// freePort takes a port until it is released. It is taken by the UDP port of its number, which nobody else uses, and which the kernel
// gives to one process alone.
func freePort() (port int, release func(), err error) {
	for range 100 {
		port := 10000 + rand.IntN(12000)
		address := fmt.Sprintf("127.0.0.1:%d", port)
		var taken net.PacketConn
		if taken, err = net.ListenPacket("udp", address); err != nil {
			continue
		}
		var l net.Listener
		if l, err = net.Listen("tcp", address); err == nil {
			return port, func() { taken.Close() }, l.Close()
		}
		taken.Close()
	}
	return 0, nil, fmt.Errorf("finding a free port: %w", err)
}
