package web

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Hosts are those that clients may reach by using the gateway as their HTTP proxy.
type Hosts []hostPattern

type hostPattern struct {
	// name in lower case; below is set where everything under it is meant, and then name may be empty: every name.
	name  string
	below bool
	// port is empty for the usual one of the scheme.
	port string
}

// ParseHosts reads names, *.names, * for every name (but no address), and addresses, each with an optional port.
func ParseHosts(list []string) (Hosts, error) {
	var out Hosts
	for _, s := range list {
		p := hostPattern{name: strings.ToLower(s)}
		if h, port, err := net.SplitHostPort(p.name); err == nil {
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil || n == 0 {
				return nil, fmt.Errorf("host %q: %q is no port", s, port)
			}
			p.name, p.port = h, port
		}
		p.name = strings.Trim(p.name, "[]")
		if p.name == "*" {
			p.name, p.below = "", true
		} else if rest, ok := strings.CutPrefix(p.name, "*."); ok {
			p.name, p.below = rest, true
		}
		if _, err := netip.ParseAddr(p.name); err != nil && (p.name == "" && !p.below || strings.ContainsAny(p.name, "*:/@ %")) {
			return nil, fmt.Errorf("host %q: want a name, *.name, * or an address, with or without :port", s)
		}
		out = append(out, p)
	}
	return out, nil
}

// Match reports whether a scheme's host and port is one of them. A pattern matches names alone.
func (hs Hosts) Match(scheme, host, port string) bool {
	host = strings.ToLower(host)
	_, err := netip.ParseAddr(host)
	for _, p := range hs {
		named := host == p.name && !p.below
		if p.below && err != nil && looksLikeName(host) {
			named = p.name == "" || strings.HasSuffix(host, "."+p.name)
		}
		if named && (port == p.port || p.port == "" && port == map[string]string{"http": "80", "https": "443"}[scheme]) {
			return true
		}
	}
	return false
}

// looksLikeName refuses what some resolvers take for an address, such as 127.1 and 0x7f000001: the last label of a name
// in the DNS is not made of digits alone, and does not begin with 0x (WHATWG URL, section 3.5).
func looksLikeName(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	return last != "" && strings.Trim(last, "0123456789") != "" && !strings.HasPrefix(last, "0x") && host != "localhost" && !strings.HasSuffix(host, ".localhost")
}

// plainHost reports whether a host, as a client names it, is one that resolvers, policy and certificates read alike: an
// address without a zone, or a name in ASCII that does not end in a dot. In other scripts a name is mapped before it is
// resolved, some digits to those of addresses.
func plainHost(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Zone() == ""
	}
	return host != "" && !strings.HasSuffix(host, ".") && strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == ""
}
