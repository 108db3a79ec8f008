//go:build !linux

package ledger

import "os"

func startWriting(*os.File) error { return nil }

func syncData(f *os.File) error { return f.Sync() }

func openAll(string) (*os.File, error) { return nil, nil }

func syncAll(folder *os.File) error { return folder.Sync() }
