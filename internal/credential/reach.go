package credential

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"gatebook/internal/access"
)

// Reach says which addresses may be dialled. It is asked about the address itself, after names were resolved and just
// before the connection is made, so that no name can mean one address to whoever looks and another to whoever dials.
//
// Never the gateway's own listeners. The machine itself, link-local addresses and those where clouds answer questions
// about credentials only where whoever asks for a connection names them as they are: an operator who writes
// http://127.0.0.1:8080 means it, a name that happens to resolve to it does not. It is asked for every upstream; the zero
// value has no listeners.
type Reach struct {
	// Own are the ports of the gateway's own listeners.
	Own []uint16
	// Proven says that TLS always proves who answers to be whom the operator named: such an upstream may be on this machine
	// under any name.
	Proven bool
}

// metadata are addresses, beside the link-local ones, at which clouds hand out credentials.
var metadata = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"),   // Amazon, over IPv6
	netip.MustParseAddr("fd20:ce::254"),    // Google, over IPv6
	netip.MustParseAddr("100.100.100.200"), // Alibaba
	netip.MustParseAddr("168.63.129.16"),   // Azure's wire server
	netip.MustParseAddr("192.0.0.192"),     // Oracle
}

// embedding are prefixes of IPv6 addresses that stand for an IPv4 address, and where in them it is.
var embedding = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},    // NAT64, RFC 6052
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12},  // RFC 8215, where /96 of it are used
	{netip.MustParsePrefix("2002::/16"), 2},        // 6to4, RFC 3056
	{netip.MustParsePrefix("::/96"), 12},           // IPv4-compatible, RFC 4291
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12}, // IPv4-translated, RFC 2765
}

// Check refuses an address. host is what was asked for, before it was resolved.
func (r Reach) Check(host string, to netip.AddrPort) error {
	a := plainAddr(to.Addr())
	if slices.Contains(r.Own, to.Port()) && isHere(a) {
		return access.Refuse(access.CodeDenied, nil, "%s is the gateway itself, which is not reached through it", to)
	}
	if !isSpecial(a) || names(host, a) || r.Proven && a.IsLoopback() {
		return nil
	}
	why := access.Refuse(access.CodeDenied, nil, "%s is at %s, an address of the gateway's own machine, network or cloud, which is not reached through it", host, a)
	why.Advice = "Only an operator can open such an address, by writing it as it is into the target's URL or proxy.hosts."
	return why
}

// names reports whether host is a itself, or localhost where a is that.
func names(host string, a netip.Addr) bool {
	if strings.EqualFold(host, "localhost") {
		return a.IsLoopback()
	}
	named, err := netip.ParseAddr(host)
	return err == nil && named.Zone() == "" && plainAddr(named) == a
}

// plainAddr is the IPv4 address that an IPv6 address stands for, or the address itself.
func plainAddr(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is4() || a == netip.IPv6Loopback() || a == netip.IPv6Unspecified() {
		return a
	}
	b := a.As16()
	for _, e := range embedding {
		if e.prefix.Contains(a) {
			return netip.AddrFrom4([4]byte(b[e.at : e.at+4]))
		}
	}
	return a
}

func isSpecial(a netip.Addr) bool {
	return a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() || a.IsMulticast() ||
		a.Is4() && (a.As4()[0] == 0 || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})) || slices.Contains(metadata, a)
}

// isHere reports whether a is an address of this machine. Where that cannot be found out it may be.
func isHere(a netip.Addr) bool {
	if a.IsLoopback() || a.IsUnspecified() {
		return true
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(all, func(n net.Addr) bool {
		p, err := netip.ParsePrefix(n.String())
		return err == nil && p.Addr().Unmap().WithZone("") == a
	})
}

// dialer dials what check lets through. Every connection to an upstream is made by it.
func dialer(wait time.Duration, check func(host string, to netip.AddrPort) error) func(ctx context.Context, network, address string) (net.Conn, error) {
	plain := net.Dialer{Timeout: wait, KeepAlive: 30 * time.Second}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		d := plain
		d.ControlContext = func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(resolved)
			if err != nil {
				return err
			}
			return check(host, to)
		}
		return d.DialContext(ctx, network, address)
	}
}
