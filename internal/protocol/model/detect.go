package model

import (
	"bytes"
	"regexp"
	"slices"

	"github.com/go-json-experiment/json"
)

// detector finds one kind of credential. Its expression is tried only where word is.
type detector struct {
	name, word string
	shape      *regexp.Regexp
}

// knownValue is the finding of a value that the gateway knows to be secret.
const knownValue = "known-value"

// detectors are few, and each is of a form that stands for nothing else: what they find is on record as a finding, and
// a rule that finds what is not there would be switched off. A key's lines may be escaped, once or several times.
var detectors = []detector{
	{"aws-access-key", "A", regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z2-7]{16}\b`)},
	{"aws-secret-key", "ecret", regexp.MustCompile(`(?i)aws_?secret_?access_?key[\\"' \t]*[:=][\\"' \t]*([A-Za-z0-9/+]{40})\b`)},
	{"github-token", "gh", regexp.MustCompile(`\bgh[pousr]_[A-Za-z0-9]{36,255}\b`)},
	{"github-token", "github_pat_", regexp.MustCompile(`\bgithub_pat_[A-Za-z0-9_]{50,255}\b`)},
	{"gitlab-token", "glpat-", regexp.MustCompile(`\bglpat-[A-Za-z0-9_-]{20,64}`)},
	{"private-key", "PRIVATE KEY", regexp.MustCompile(`-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----[^-]{32,}-----END (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----`)},
	{"jwt", "eyJ", regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}`)},
	{"anthropic-key", "sk-ant-", regexp.MustCompile(`\bsk-ant-[A-Za-z0-9_-]{24,}`)},
	{"openai-key", "sk-", regexp.MustCompile(`\bsk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{20,}T3BlbkFJ[A-Za-z0-9_-]{20,}`)},
	{"slack-token", "xox", regexp.MustCompile(`\bxox[abeoprs]-[A-Za-z0-9-]{20,}`)},
	{"slack-webhook", "hooks.slack.com", regexp.MustCompile(`hooks\.slack\.com/services/(T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,})`)},
	{"basic-auth-url", "://", regexp.MustCompile(`\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@"'\\<>{}$%*]{1,64}:([^\s/:@"'\\<>{}$%*]{8,128})@[A-Za-z0-9\[]`)},
}

// detect gives the credentials in b, and the names of what found them, sorted.
func detect(b []byte) (names []string, values [][]byte) {
	for _, d := range detectors {
		if !bytes.Contains(b, []byte(d.word)) {
			continue
		}
		for _, m := range d.shape.FindAllSubmatch(b, -1) {
			v := m[len(m)-1] // the group, where there is one
			if names = append(names, d.name); !bytes.HasPrefix(v, []byte("gbm-")) {
				values = append(values, v)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), values
}

// unescaped gives a value as it is written, and as it is behind one and two layers of JSON's escapes.
func unescaped(v []byte) [][]byte {
	out := [][]byte{v}
	for range 2 {
		var s string
		if json.Unmarshal(slices.Concat([]byte(`"`), v, []byte(`"`)), &s) != nil || s == string(v) {
			break
		}
		v = []byte(s)
		out = append(out, v)
	}
	return out
}
