package lab

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// FreePort gives a TCP port of the loopback interface that nothing listens on, for a process to be started. It is none of
// those that the kernel gives to outgoing connections (net.ipv4.ip_local_port_range begins at 32768): one of these could
// be taken by any connection before the process listens on it.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func freePort() (int, error) {
	var err error
	for range 100 {
		port := 10000 + rand.IntN(20000)
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("finding a free port: %w", err)
}
