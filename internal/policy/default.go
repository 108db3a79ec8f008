package policy

import (
	"embed"
	"io/fs"
)

//go:embed pack/*.yaml
var pack embed.FS

// Default gives the files of the policy that Gatebook ships, by name: the seed of everyone's own.
func Default() map[string][]byte {
	out := map[string][]byte{}
	names, err := fs.Glob(pack, "pack/*.yaml")
	if err != nil {
		return out // the pattern above is well-formed, and an empty policy does not load
	}
	for _, name := range names {
		if b, err := pack.ReadFile(name); err == nil {
			out[name[len("pack/"):]] = b
		}
	}
	return out
}
