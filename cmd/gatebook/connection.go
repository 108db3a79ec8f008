package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"gatebook/internal/api/client"
	"gatebook/internal/identity/login"
)

// connection is how the verbs that talk to a gateway reach it. What flags and environment do not say, the last
// `gatebook login` does.
type connection struct {
	Gateway  string `json:"gateway"`
	CA       string `json:"ca,omitempty"`
	Issuer   string `json:"issuer,omitempty"`
	ClientID string `json:"clientId,omitempty"`
	// TokenFile holds a token, such as a projected service-account token, instead of a login.
	TokenFile string `json:"tokenFile,omitempty"`
	// Key is the file with the age identity that opens recordings.
	Key string `json:"key,omitempty"`
}

// flags adds the flags that say which gateway, each with an environment variable of its own.
func (c *connection) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.Gateway, "gateway", os.Getenv("GATEBOOK_URL"), "the gateway's URL (GATEBOOK_URL)")
	f.StringVar(&c.CA, "ca", os.Getenv("GATEBOOK_CA"), "PEM file with the CA of the gateway's certificate (GATEBOOK_CA)")
	f.StringVar(&c.TokenFile, "token-file", os.Getenv("GATEBOOK_TOKEN_FILE"), "file with a token, read anew for each request, instead of a login (GATEBOOK_TOKEN_FILE)")
}

func configFile() (string, error) {
	d, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("finding the folder for settings: %w", err)
	}
	return filepath.Join(d, "gatebook", "login.json"), nil
}

// complete fills in what the last login said about the same gateway.
func (c *connection) complete() error {
	path, err := configFile()
	if err != nil {
		return err
	}
	var last connection
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("reading the last login: %w", err)
	default:
		if err := json.Unmarshal(b, &last); err != nil {
			return fmt.Errorf("reading the last login: %s: %w", path, err)
		}
	}
	if c.Gateway == "" {
		c.Gateway = last.Gateway
	}
	if c.Gateway == "" {
		return usageError{errors.New("no gateway is known; give --gateway, set GATEBOOK_URL, or run gatebook login --gateway URL")}
	}
	if c.Gateway == last.Gateway {
		for _, x := range []struct{ have, was *string }{{&c.CA, &last.CA}, {&c.Issuer, &last.Issuer}, {&c.ClientID, &last.ClientID}, {&c.Key, &last.Key}} {
			if *x.have == "" {
				*x.have = *x.was
			}
		}
	}
	if c.Issuer == "" {
		c.Issuer = c.Gateway + embeddedPath
	}
	if c.ClientID == "" {
		c.ClientID = "gatebook-cli"
	}
	return nil
}

// remember makes this the connection that later verbs use.
func (c *connection) remember() error {
	path, err := configFile()
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(c, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = os.WriteFile(path, append(b, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("remembering the login: %w", err)
	}
	return nil
}

func (c *connection) ca() ([]byte, error) {
	if c.CA == "" {
		return nil, nil
	}
	b, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, usageError{fmt.Errorf("reading the gateway's CA: %w", err)}
	}
	return b, nil
}

// loginConfig is the issuer that people log in at. prompt is what they read.
func (c *connection) loginConfig(prompt io.Writer) (login.Config, error) {
	ca, err := c.ca()
	if err != nil {
		return login.Config{}, err
	}
	// The issuer may be the gateway itself, whose CA is known here, or the company's.
	x, err := client.New(c.Gateway, nil, nil)
	if c.Issuer == c.Gateway+embeddedPath {
		x, err = client.New(c.Gateway, ca, nil)
	}
	if err != nil {
		return login.Config{}, usageError{err}
	}
	return login.Config{Issuer: c.Issuer, ClientID: c.ClientID, Client: x.HTTP(), Prompt: prompt, OpenBrowser: login.OpenBrowser}, nil
}

func (c *connection) cache() (login.Cache, error) {
	d, err := os.UserCacheDir()
	if err != nil {
		return login.Cache{}, fmt.Errorf("finding the folder for tokens: %w", err)
	}
	return login.Cache{Dir: filepath.Join(d, "gatebook", "tokens")}, nil
}

// token gives a token that is good now, renewed where that needs nobody.
func (c *connection) token(ctx context.Context) (login.Token, error) {
	if c.TokenFile != "" {
		return login.File(c.TokenFile)
	}
	cache, err := c.cache()
	if err != nil {
		return login.Token{}, err
	}
	lc, err := c.loginConfig(io.Discard)
	if err != nil {
		return login.Token{}, err
	}
	t, err := cache.Token(ctx, lc, c.Gateway)
	if errors.Is(err, login.ErrLoginRequired) {
		again := "gatebook login --gateway " + c.Gateway
		if c.CA != "" {
			again += " --ca " + c.CA
		}
		return t, fmt.Errorf("there is no login at %s, or it has ended; run: %s (or give a token by --token-file)", c.Gateway, again)
	}
	return t, err
}

// open gives a client of the gateway.
func (c *connection) open() (*client.Client, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	ca, err := c.ca()
	if err != nil {
		return nil, err
	}
	x, err := client.New(c.Gateway, ca, func(ctx context.Context) (string, error) {
		t, err := c.token(ctx)
		return t.ID, err
	})
	if err != nil {
		return nil, usageError{err}
	}
	return x, nil
}

// verb makes a command whose work is done with a client of the gateway.
func (c *connection) verb(cmd *cobra.Command, do func(cmd *cobra.Command, args []string, x *client.Client) error) *cobra.Command {
	c.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		x, err := c.open()
		if err != nil {
			return err
		}
		defer x.Close()
		return do(cmd, args, x)
	}
	return cmd
}
