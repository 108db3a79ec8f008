// Command gitleaks runs gitleaks beside Gatebook's own detectors, and takes over its rules:
//
//	gitleaks rules > internal/mask/detect/gitleaks.json
//	gitleaks scan FILE SECONDS     findings and CPU, as JSON
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/zricethezav/gitleaks/v8/config"
	"github.com/zricethezav/gitleaks/v8/detect"
)

const module = "github.com/zricethezav/gitleaks/v8"

var version = moduleVersion()

func moduleVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == module {
				return d.Version
			}
		}
	}
	return "of unknown version"
}

func sorted(m map[string]config.Rule) []string { return slices.Sorted(maps.Keys(m)) }

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gitleaks:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "rules":
		b, err := rules()
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(b)
		return err
	case len(args) == 3 && args[0] == "scan":
		seconds, err := strconv.ParseFloat(args[2], 64)
		if err != nil {
			return err
		}
		return scan(args[1], time.Duration(seconds*float64(time.Second)))
	}
	return errors.New("usage: gitleaks rules | gitleaks scan FILE SECONDS")
}

// finding is what is compared: which rule found what.
type finding struct {
	Rule   string `json:"rule"`
	Secret string `json:"secret"`
}

// scan searches a file again and again for some time.
func scan(path string, most time.Duration) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	d, err := detect.NewDetectorDefaultConfig()
	if err != nil {
		return err
	}
	var out struct {
		MBPerSecond float64   `json:"mbPerCPUSecond"`
		Version     string    `json:"version"`
		Findings    []finding `json:"findings"`
	}
	out.Version = version
	for _, f := range d.DetectBytes(text) {
		out.Findings = append(out.Findings, finding{f.RuleID, f.Secret})
	}
	slices.SortFunc(out.Findings, func(a, b finding) int {
		return strings.Compare(a.Rule+"\x00"+a.Secret, b.Rule+"\x00"+b.Secret)
	})
	n, began, cpu := 0, time.Now(), used()
	for n == 0 || time.Since(began) < most {
		d.DetectBytes(text)
		n++
	}
	out.MBPerSecond = float64(n) * float64(len(text)) / 1e6 / (used() - cpu).Seconds()
	return json.NewEncoder(os.Stdout).Encode(out)
}

func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // cannot be: the arguments are right
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
