package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/zricethezav/gitleaks/v8/config"
	"github.com/zricethezav/gitleaks/v8/detect"
)

// What all rules of the form name = value have between the two, and at their end.
const (
	before  = `[\w.-]{0,50}?`
	between = `(?:[ \t\w.-]{0,20})[\s'"]{0,3}(?:=|>|:{1,3}=|\|\||:|=>|\?=|,)[\x60'"\s=]{0,5}`
	nested  = `(?:[ \t\w.-]{0,20})[\s'"]{0,3})(?:=|>|:{1,3}=|\|\||:|=>|\?=|,)[\x60'"\s=]{0,5}`
	behind  = `(?:[\x60'"\s;]|\\[nr]|$)`
)

// left are rules that are not taken over, each with its reason.
var left = map[string]string{
	"pkcs12-file":                            "it is about a file's name",
	"hashicorp-tf-password":                  "it holds in files of one name alone",
	"kubernetes-secret-yaml":                 "it holds in files of one name alone, and Secrets are masked by their structure",
	"freemius-secret-key":                    "it is about a file's name",
	"nuget-config-password":                  "it is about a file's name",
	"facebook-access-token":                  "without the word facebook somewhere in the file it is any number before a bar",
	"aws-amazon-bedrock-api-key-short-lived": "it finds the start of a key alone, which is the same for all",
	"curl-auth-header":                       "authorization-header finds the same in any text",
	"curl-auth-user":                         "it reads a command's five lines; url-password and others find what is of a form",
	"slack-webhook-url":                      "slack-webhook hides its path alone",
	"jwt-base64":                             "package mask reads tokens in base64",
}

// generic are rules that find much that is none.
var generic = []string{"generic-api-key"}

type rule struct {
	ID          string  `json:"id"`
	Group       string  `json:"group"`
	Regexp      string  `json:"regexp"`
	Names       string  `json:"names,omitempty"`
	Value       string  `json:"value,omitempty"`
	SecretGroup int     `json:"secretGroup,omitempty"`
	Entropy     float64 `json:"entropy,omitempty"`
	Allow       []allow `json:"allow,omitempty"`
}

type allow struct {
	Target  string   `json:"target,omitempty"`
	Regexps []string `json:"regexps,omitempty"`
	Same    bool     `json:"same,omitempty"`
	Words   []string `json:"words,omitempty"`
}

// rules gives gitleaks' rule set as package detect keeps it.
func rules() ([]byte, error) {
	d, err := detect.NewDetectorDefaultConfig()
	if err != nil {
		return nil, err
	}
	var out struct {
		From  string   `json:"from"`
		Allow []allow  `json:"allow"`
		Rules []rule   `json:"rules"`
		Left  []string `json:"left"`
	}
	out.From = "The rules of gitleaks " + version + " (https://github.com/gitleaks/gitleaks), MIT License, Copyright (c) 2019 Zachary Rice; see LICENSE.gitleaks. Made by tools/gitleaks; do not edit."
	if out.Allow, err = allows(d.Config.Allowlists); err != nil {
		return nil, err
	}
	for _, id := range sorted(d.Config.Rules) {
		r := d.Config.Rules[id]
		if why, ok := left[id]; ok {
			out.Left = append(out.Left, id+": "+why)
			continue
		}
		if r.Regex == nil || r.Path != nil || len(r.RequiredRules) > 0 {
			return nil, fmt.Errorf("rule %s is of a kind that is not known: say in rules.go what becomes of it", id)
		}
		list, err := allows(r.Allowlists)
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", id, err)
		}
		for _, expr := range split(id, r.Regex.String()) {
			x := rule{ID: id, Group: "credentials", Regexp: expr, SecretGroup: r.SecretGroup, Entropy: r.Entropy, Allow: list}
			if x.Names, x.Value = assigned(expr); x.Names != "" {
				x.Group, x.SecretGroup = "assigned", 0
			}
			if slices.Contains(generic, id) {
				x.Group = "generic"
			}
			out.Rules = append(out.Rules, x)
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err = enc.Encode(out)
	return b.Bytes(), err
}

// split gives the alternatives of an expression that is of two forms, and without one that is no form at all.
func split(id, expr string) []string {
	if id == "sourcegraph-access-token" { // its last alternative is any object name of git
		return []string{strings.Replace(expr, "|[a-fA-F0-9]{40})", ")", 1)}
	}
	expr = strings.Replace(expr, "MailchimpSDK.initialize", `MailchimpSDK\.initialize`, 1)
	if a, b, ok := strings.Cut(expr, behind+"|"); ok && strings.Contains(a, between) {
		return []string{a + behind, b}
	}
	return []string{expr}
}

// assigned takes a rule of the form name = value apart; empty where it is of another.
func assigned(expr string) (names, value string) {
	fold := ""
	rest, ok := strings.CutPrefix(expr, "(?i)"+before)
	if ok {
		fold = "(?i)"
	}
	sep := between
	if !ok {
		if rest, ok = strings.CutPrefix(expr, before+"(?i:"+before); !ok {
			return "", ""
		}
		sep = nested
	}
	names, value, ok = strings.Cut(rest, sep)
	if !ok || !strings.HasSuffix(value, behind) {
		return "", ""
	}
	value = strings.TrimSuffix(value, behind)
	if !strings.HasPrefix(value, "(") || !strings.HasSuffix(value, ")") {
		return "", ""
	}
	return "(?i)" + names, fold + value[1:len(value)-1]
}

// sameCharacter begins the expression of one character again and again.
const sameCharacter = "^(?i:a+|b+|c+|"

// allows keeps what can be said of a text alone: nothing about files, commits and lines.
func allows(list []*config.Allowlist) (out []allow, err error) {
	for _, a := range list {
		x := allow{Target: a.RegexTarget, Words: slices.Sorted(slices.Values(a.StopWords))}
		for _, re := range a.Regexes {
			if strings.HasPrefix(re.String(), sameCharacter) {
				x.Same = true
				continue
			}
			x.Regexps = append(x.Regexps, re.String())
		}
		switch {
		case len(a.Paths) > 0 && a.MatchCondition == config.AllowlistMatchAnd, a.RegexTarget == "line":
			continue
		case len(x.Regexps)+len(x.Words) == 0 && !x.Same:
			continue
		case a.MatchCondition == config.AllowlistMatchAnd:
			return nil, fmt.Errorf("an allowlist asks for several things at once")
		}
		out = append(out, x)
	}
	return out, nil
}
