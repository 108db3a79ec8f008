package identity

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatebook/internal/access"
)

// reserved begins the names and groups that Kubernetes itself gives out.
const reserved = "system:"

const maxNameBytes = 1024

// checkPrefixes makes sure that what one issuer can be mapped to cannot be what another is mapped to. An empty prefix may be used
// once by each kind: a Kubernetes issuer's names all begin with "system:", and no other's do.
func checkPrefixes(issuers []Issuer) error {
	for n, a := range issuers {
		for _, p := range []string{a.Claims.UsernamePrefix, a.Claims.GroupsPrefix} {
			if strings.HasPrefix(p, reserved) || p != "" && strings.HasPrefix(reserved, p) {
				return fmt.Errorf("issuer %s: prefix %q could make names that begin with %q", a.Name, p, reserved)
			}
		}
		for _, b := range issuers[:n] {
			if overlap(a.Claims.UsernamePrefix, b.Claims.UsernamePrefix, a.Kind == b.Kind) {
				return fmt.Errorf("issuers %s and %s: user name prefixes %q and %q overlap, so that one could name the other's users; give each its own, such as %q",
					b.Name, a.Name, b.Claims.UsernamePrefix, a.Claims.UsernamePrefix, a.Name+":")
			}
			if overlap(a.Claims.GroupsPrefix, b.Claims.GroupsPrefix, a.Kind == b.Kind) {
				return fmt.Errorf("issuers %s and %s: group prefixes %q and %q overlap, so that one could name the other's groups; give each its own, such as %q",
					b.Name, a.Name, b.Claims.GroupsPrefix, a.Claims.GroupsPrefix, a.Name+":")
			}
		}
	}
	return nil
}

func overlap(a, b string, sameKind bool) bool {
	if a == "" || b == "" {
		return a == b && sameKind
	}
	return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
}

// mapper makes principals of one issuer's claims.
type mapper struct {
	issuer *Issuer
	// names and groups are the other issuers' prefixes, which this one's names and groups cannot begin with.
	names, groups []string
}

func newMapper(issuer *Issuer, all []Issuer) mapper {
	m := mapper{issuer: issuer}
	for _, o := range all {
		if o.Name == issuer.Name {
			continue
		}
		if p := o.Claims.UsernamePrefix; p != "" {
			m.names = append(m.names, p)
		}
		if p := o.Claims.GroupsPrefix; p != "" {
			m.groups = append(m.groups, p)
		}
	}
	return m
}

// principal maps claims. TokenID and Expires are the caller's to set.
func (m mapper) principal(c claims) (access.Principal, error) {
	p := access.Principal{Issuer: m.issuer.Name, Subject: c.str("sub")}
	if err := checkName(p.Subject); err != nil {
		return p, fmt.Errorf("the token's subject (sub) %w", err)
	}
	var err error
	if m.issuer.Kind == Kubernetes {
		err = m.workload(&p, c)
	} else {
		err = m.person(&p, c)
	}
	if err != nil {
		return access.Principal{}, err
	}
	if err := m.checkOwn(p.Name, m.issuer.Claims.UsernamePrefix, m.names); err != nil {
		return access.Principal{}, fmt.Errorf("the token's user name %w", err)
	}
	for _, g := range p.Groups {
		if err := m.checkOwn(g, m.issuer.Claims.GroupsPrefix, m.groups); err != nil {
			return access.Principal{}, fmt.Errorf("the token's group %w", err)
		}
	}
	slices.Sort(p.Groups)
	p.Groups = slices.Compact(p.Groups)
	return p, nil
}

func (m mapper) person(p *access.Principal, c claims) error {
	by := m.issuer.Claims
	name := c.str(by.Username)
	if name == "" {
		return fmt.Errorf("the token has no claim %q, which names the user here", by.Username)
	}
	if by.Username == "email" && c["email_verified"] != true {
		return fmt.Errorf("the token's email is not verified (email_verified), and it names the user here")
	}
	p.Name = by.UsernamePrefix + name
	groups, err := c.list(by.Groups)
	if err != nil {
		return err
	}
	for _, g := range groups {
		p.Groups = append(p.Groups, by.GroupsPrefix+g)
	}
	p.Aliases = m.aliases(p, name, c)
	return nil
}

// aliases are the other names that the token gives the person, without prefixes, so that the same person is recognised
// under another issuer.
func (m mapper) aliases(p *access.Principal, name string, c claims) []string {
	var out []string
	add := func(s string) {
		if checkName(s) == nil && s != p.Name && s != p.Subject && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	add(name)
	for _, claim := range m.issuer.Claims.Aliases {
		if claim == "email" && c["email_verified"] != true {
			continue
		}
		add(c.str(claim))
	}
	return out
}

// checkOwn refuses names that cannot be shown, that are reserved, or that belong to another issuer.
func (m mapper) checkOwn(name, prefix string, others []string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if strings.HasPrefix(name, reserved) && !(m.issuer.Kind == Kubernetes && prefix == "") {
		return fmt.Errorf("%s begins with %q, which only a Kubernetes issuer may use", clip(name), reserved)
	}
	for _, o := range others {
		if strings.HasPrefix(name, o) {
			return fmt.Errorf("%s begins with %q, which belongs to another issuer", clip(name), o)
		}
	}
	return nil
}

// checkName refuses what is empty, overlong, or has characters that are not shown: controls, bidirectional overrides.
func checkName(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("is empty")
	case len(s) > maxNameBytes:
		return fmt.Errorf("is longer than %d bytes", maxNameBytes)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, hidden):
		return fmt.Errorf("%s has characters that cannot be shown", clip(s))
	}
	return nil
}

func hidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co)
}
