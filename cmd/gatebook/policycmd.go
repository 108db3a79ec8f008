package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/internal/policy"
)

func addPolicy(parent *cobra.Command) {
	c := &cobra.Command{Use: "policy", Short: "Check, test and explain policy"}
	c.AddCommand(policyShow(), policyCheck(), policyTest(), policyExplain())
	parent.AddCommand(c)
}

func policyShow() *cobra.Command {
	return &cobra.Command{Use: "default [FOLDER]", Short: "Print the embedded default policy, or write it into a folder to begin from", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			files := policy.Default()
			for _, name := range slices.Sorted(maps.Keys(files)) {
				if len(args) == 0 {
					fmt.Fprintf(cmd.OutOrStdout(), "# %s\n%s", name, files[name])
					continue
				}
				if err := os.MkdirAll(args[0], 0o755); err != nil {
					return err
				}
				f, err := os.OpenFile(filepath.Join(args[0], name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
				if err != nil {
					return err
				}
				if _, err := f.Write(files[name]); err != nil {
					return err
				}
				if err := f.Close(); err != nil {
					return err
				}
			}
			return nil
		}}
}

// loadPolicy reads the policy of a folder; "" is the embedded one.
func loadPolicy(dir string) (*policy.Set, error) {
	files, err := readPolicy(dir)
	if err != nil {
		return nil, usageError{err}
	}
	set, err := policy.Load(files)
	if err != nil {
		return nil, usageError{err}
	}
	return set, nil
}

func policyCheck() *cobra.Command {
	return &cobra.Command{Use: "check FOLDER", Short: "Say what is wrong with a policy, and change nothing", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			set, err := loadPolicy(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "good; digest %s\n", set.Digest())
			return err
		}}
}

func policyTest() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "test CASES...", Short: "Decide the operations of case files, and compare with what they expect", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			set, err := loadPolicy(dir)
			if err != nil {
				return err
			}
			files := map[string][]byte{}
			for _, name := range args {
				if files[name], err = os.ReadFile(name); err != nil {
					return usageError{err}
				}
			}
			report, err := policy.RunCases(set, files)
			if err != nil {
				return usageError{err}
			}
			return printCases(cmd.OutOrStdout(), report)
		}}
	c.Flags().StringVar(&dir, "policy", "", "policy folder (default: the embedded policy)")
	return c
}

func printCases(w io.Writer, r policy.Report) error {
	for _, c := range r.Results {
		if len(c.Differences) == 0 {
			continue
		}
		fmt.Fprintf(w, "%s:%d: %s\n", c.File, c.Line, c.Name)
		for _, d := range c.Differences {
			fmt.Fprintf(w, "    %s\n", d)
		}
	}
	for _, id := range r.Untested {
		fmt.Fprintf(w, "rule %s is met by no case\n", id)
	}
	failed := r.Failed()
	fmt.Fprintf(w, "%d passed, %d failed\n", len(r.Results)-failed, failed)
	if failed > 0 {
		return fmt.Errorf("%d of %d cases were decided otherwise", failed, len(r.Results))
	}
	return nil
}

// policyExplain explains a recorded operation by the gateway's policy, or by a draft.
func policyExplain() *cobra.Command {
	var c connection
	var o output
	var dir string
	cmd := c.verb(&cobra.Command{Use: "explain OPERATION", Short: "Say why a recorded operation is decided as it is, rule by rule", Args: cobra.ExactArgs(1)},
		func(cmd *cobra.Command, args []string, x *client.Client) error {
			id := access.OperationID(args[0])
			var e policy.Explanation
			if dir == "" {
				raw, err := x.Explain(cmd.Context(), id)
				if err != nil {
					return err
				}
				if err := json.Unmarshal(raw, &e); err != nil {
					return fmt.Errorf("reading the explanation: %w", err)
				}
			} else {
				set, err := loadPolicy(dir)
				if err != nil {
					return err
				}
				r, err := x.Operation(cmd.Context(), id)
				if err != nil {
					return err
				}
				e = set.ExplainRecorded(&r)
			}
			return o.print(cmd.OutOrStdout(), e, func(w io.Writer) error { printExplanation(w, e); return nil })
		})
	o.flag(cmd)
	cmd.Flags().StringVar(&dir, "policy", "", "explain by the draft in this folder instead of the policy in force")
	return cmd
}

func printExplanation(w io.Writer, e policy.Explanation) {
	fmt.Fprintf(w, "%s, risk %s: %s\n", e.Decision.Effect, e.Decision.Risk, inert(e.Decision.Reason))
	masked := false
	if then := e.Recorded; then != nil && (then.Effect != e.Decision.Effect || then.Risk != e.Decision.Risk || then.Reason != e.Decision.Reason) {
		fmt.Fprintf(w, "decided then: %s, risk %s: %s (policy %s)\n", then.Effect, then.Risk, inert(then.Reason), then.Policy)
	}
	for _, n := range e.Needs {
		fmt.Fprintf(w, "not known here: %s\n", n)
	}
	for _, r := range e.Rules {
		mark := " "
		if r.Counts {
			mark = "*"
		}
		fmt.Fprintf(w, "%s %-8s %-32s %-8s %s:%d  %s\n", mark, r.Effect, r.ID, r.Outcome, r.File, r.Line, inert(r.Why))
		for _, f := range r.Facts {
			mark := ""
			if f.Masked {
				mark, masked = "  (masked)", true
			}
			fmt.Fprintf(w, "      line %d: %s = %s%s\n", f.Line, inert(f.Part), inert(f.Value), mark)
		}
	}
	if masked {
		fmt.Fprintln(w, "(masked): a secret's placeholder. Policy judges what is recorded, then as now; it never sees the value.")
	}
}
