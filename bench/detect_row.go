package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatebook/internal/mask/detect"
)

// searched is what a search of a file found and cost; tools/gitleaks says the same of itself.
type searched struct {
	MBPerSecond float64   `json:"mbPerCPUSecond"`
	Version     string    `json:"version,omitempty"`
	Findings    []finding `json:"findings"`
}

type finding struct {
	Rule   string `json:"rule"`
	Secret string `json:"secret"`
}

// searchFile is the gateway's own detectors, with the rules that are gitleaks' alone, in a process of its own: FILE SECONDS.
func searchFile(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: detect FILE SECONDS")
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseFloat(args[1], 64)
	if err != nil {
		return err
	}
	set, err := detect.Gitleaks()
	if err != nil {
		return err
	}
	var out searched
	for _, f := range set.Find(text) {
		out.Findings = append(out.Findings, finding{f.Rule.ID, string(text[f.Start:f.End])})
	}
	n, began, cpu := 0, time.Now(), usedCPU()
	for n == 0 || time.Since(began) < time.Duration(seconds*float64(time.Second)) {
		set.Find(text)
		n++
	}
	out.MBPerSecond = float64(n) * float64(len(text)) / 1e6 / (usedCPU() - cpu).Seconds()
	return json.NewEncoder(os.Stdout).Encode(out)
}

// detectRow is row 7: the same rules on the same files, by package detect and by gitleaks, with the same findings.
func detectRow(ctx context.Context, o options, rep *report) error {
	if o.Gitleaks == "" {
		return nil
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	texts := []struct {
		name, goal string
		text       []byte
		least      float64
	}{
		{"256 KB SecretList, pretty", "detector rules on a 256 KB pretty SecretList against gitleaks, CPU", prettySecrets(256 << 10), 500},
		{"1 MB of logs, with credentials in them", "the same on logs", leakingLogs(1 << 20), 10},
		{"1 MB of logs, without any of gitleaks' keywords", "the same on logs in which gitleaks has nothing to try", quietLogs(1 << 20), 10},
	}
	t := table{head: []string{"gitleaks' rules", "gatebook, MB per CPU second", "lowest–highest", "gitleaks, MB per CPU second", "lowest–highest", "findings"}}
	for i, x := range texts {
		file := filepath.Join(o.Dir, fmt.Sprint("searched-", i))
		if err := os.WriteFile(file, x.text, 0o600); err != nil {
			return err
		}
		var rate [2]series
		var found [2][]finding
		var version string
		err := interleave(o.Rounds, 2, func(_, who int) error {
			argv := [][]string{{exe, "detect", file, strconv.Itoa(o.Seconds)}, {o.Gitleaks, "scan", file, strconv.Itoa(o.Seconds)}}[who]
			out, err := output(ctx, argv...)
			if err != nil {
				return err
			}
			var s searched
			if err := json.Unmarshal([]byte(out), &s); err != nil {
				return err
			}
			slices.SortFunc(s.Findings, func(a, b finding) int {
				return strings.Compare(a.Rule+"\x00"+a.Secret, b.Rule+"\x00"+b.Secret)
			})
			rate[who], found[who], version = append(rate[who], s.MBPerSecond), s.Findings, max(version, s.Version)
			return nil
		})
		if err != nil {
			return err
		}
		if !slices.Equal(found[0], found[1]) {
			return fmt.Errorf("%s: gatebook found %d, gitleaks %s %d: %v", x.name, len(found[0]), version, len(found[1]), difference(found[0], found[1]))
		}
		low, high := rate[0].spread()
		peerLow, peerHigh := rate[1].spread()
		t.add(x.name, "%.0f", rate[0].median(), "%s", fmt.Sprintf("%.0f–%.0f", low, high), "%.2f", rate[1].median(), "%s", fmt.Sprintf("%.2f–%.2f", peerLow, peerHigh), "%s", fmt.Sprintf("the same %d", len(found[0])))
		rep.goal("7", x.goal, rate[0].median()/rate[1].median(), atLeast, x.least)
	}
	rep.tables = append(rep.tables, t)
	return nil
}

// difference names some of what only one found; not the secrets.
func difference(a, b []finding) (out []string) {
	for _, p := range [][2][]finding{{a, b}, {b, a}} {
		for _, f := range p[0] {
			if !slices.Contains(p[1], f) && len(out) < 10 {
				out = append(out, fmt.Sprintf("%s of %d bytes", f.Rule, len(f.Secret)))
			}
		}
	}
	return out
}

func prettySecrets(size int) []byte {
	var b bytes.Buffer
	for n := size / 2; ; n -= 4 << 10 { // indented, it is longer
		b.Reset()
		if err := json.Indent(&b, bytes.TrimSpace(secretList(n)), "", "    "); err != nil {
			panic(err) // cannot be: it is JSON
		}
		if b.Len() <= size {
			return b.Bytes()
		}
	}
}

// leakingLogs are lines as services write them, in which every thousandth or so has a credential.
func leakingLogs(size int) []byte {
	r := rand.New(rand.NewPCG(11, 12))
	word := func(letters string, n int) string {
		v := make([]byte, n)
		for i := range v {
			v[i] = letters[r.IntN(len(letters))]
		}
		return string(v)
	}
	const alnum, hex = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "0123456789abcdef"
	leaks := []func() string{ // put together here, so that this file holds none
		func() string { return "GITHUB=gh" + "p_" + word(alnum, 36) },
		func() string { return "using key sk" + "_live_" + word(alnum, 24) + " for charges" },
		func() string {
			return "export AWS_ACCESS_KEY_ID=AK" + "IA" + word("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)
		},
		func() string { return `config loaded: {"adafruit_io_key": "` + word("0123456789abcdef_-", 32) + `"}` },
		func() string { return "npm config //registry/:_authToken npm" + "_" + word(alnum, 36) },
		func() string { return "vault login hvs" + "." + word(alnum, 95) },
		func() string { return "datadog api_key=" + word(hex, 40) + " site=eu" },
		func() string { return "client secret = " + word(alnum, 40) },
		func() string {
			return "-----BEGIN RSA PRIVATE " + "KEY-----\n" + word(alnum, 64) + "\n" + word(alnum, 64) + "\n-----END RSA PRIVATE " + "KEY-----"
		},
	}
	lines := []string{"request handled method=GET path=/api/v1/namespaces/team-%d/pods status=200 trace=%016x", "refreshing the access token of user %d, session %x",
		"cache miss for key user:%d:%x", "authentication of client %d succeeded in %d ms", "published event %d to topic orders, offset %d", "connection %d to postgres-0.postgres.svc:5432 closed after %d queries"}
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "2026-01-02T03:04:05.%06dZ INFO "+lines[r.IntN(len(lines))]+"\n", i, r.IntN(50), r.Uint64()>>1)
		if i%1000 == 0 {
			fmt.Fprintf(&b, "2026-01-02T03:04:05.%06dZ WARN %s\n", i, leaks[i/1000%len(leaks)]())
		}
	}
	return b.Bytes()
}

// quietLogs are lines in which none of the words stands that make gitleaks try an expression.
func quietLogs(size int) []byte {
	r := rand.New(rand.NewPCG(13, 14))
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "2026-01-02T03:04:05.%06dZ INFO order %d of customer %d was placed: %d items, total %d.%02d EUR, shipped from Hamburg\n", i, i, r.IntN(10000), r.IntN(9), r.IntN(900), r.IntN(100))
	}
	return b.Bytes()
}
