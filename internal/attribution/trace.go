package attribution

import "strings"

// trace is a W3C traceparent, version 00 (Trace Context, section 3.2).
type trace struct{ id, span string }

// parseTrace reads a traceparent. The zero trace is none: absent, malformed, or all zeros.
func parseTrace(s string) trace {
	if s == "" {
		return trace{}
	}
	p := strings.Split(s, "-")
	if len(p) < 4 || len(p[0]) != 2 || p[0] == "ff" || p[0] == "00" && len(p) != 4 {
		return trace{}
	}
	if !isHex(p[1], 32) || !isHex(p[2], 16) || !isHex(p[3], 2) {
		return trace{}
	}
	return trace{p[1], p[2]}
}

// isHex reports whether s is n lower-case hexadecimal digits, not all of them 0 unless there are but two.
func isHex(s string, n int) bool {
	if len(s) != n || n > 2 && strings.Trim(s, "0") == "" {
		return false
	}
	return strings.Trim(s, "0123456789abcdef") == ""
}
