package git

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"gatebook/internal/wire/gitpack"
	"gatebook/internal/wire/pktline"
)

// errNoRefs says that a host does not list refs when it is asked by version 2.
var errNoRefs = errors.New("what it says is no list of refs")

// readRefs reads the answer to ls-refs, «object ref attribute…» for each (gitprotocol-v2), to its end. The error is errNoRefs
// where it is another answer from its beginning on; that a list broke off is another.
func readRefs(src io.Reader, ref func(object, name string, attributes []string) error) error {
	in := pktline.NewReader(src)
	for first := true; ; first = false {
		k, err := in.Next()
		switch {
		case first && (errors.Is(err, io.EOF) || errors.Is(err, pktline.ErrHeader)):
			return errNoRefs
		case errors.Is(err, io.EOF):
			return fmt.Errorf("its list of refs: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return err
		case k.Kind == pktline.Flush:
			return nil
		case k.Kind != pktline.Data:
			return errors.New("its refs have a mark where none belongs")
		}
		words := strings.Split(string(k.Text()), " ")
		why, failed := k.Failure()
		switch {
		case failed && first:
			return fmt.Errorf("%w: %q", errNoRefs, oneLine(string(why)))
		case failed:
			return fmt.Errorf("it says %q", oneLine(string(why)))
		case len(words) < 2 && first:
			return errNoRefs
		case len(words) < 2:
			return fmt.Errorf("%q stands among its refs", oneLine(string(k.Text())))
		}
		if err := ref(words[0], words[1], words[2:]); err != nil {
			return err
		}
	}
}

// readSymrefs gives what each symbolic ref stands for.
func readSymrefs(src io.Reader) (map[string]string, error) {
	out := map[string]string{}
	err := readRefs(src, func(_, name string, attributes []string) error {
		for _, a := range attributes {
			if target, is := strings.CutPrefix(a, "symref-target:"); is {
				out[name] = target
			}
		}
		return nil
	})
	return out, err
}

// readTips gives the objects that refs are set to, and behind a tag what it names.
func readTips(src io.Reader) ([]gitpack.ID, error) {
	tips := []gitpack.ID{}
	err := readRefs(src, func(object, _ string, attributes []string) error {
		names := []string{object}
		for _, a := range attributes {
			if peeled, is := strings.CutPrefix(a, "peeled:"); is {
				names = append(names, peeled)
			}
		}
		for _, n := range names {
			if !objectName.MatchString(n) {
				return fmt.Errorf("it names an object %q", oneLine(n))
			}
			tips = append(tips, gitpack.ID(n))
		}
		if len(tips) > maxTips {
			return fmt.Errorf("it has more than %d branches and tags", maxTips)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return tips, nil
}

// statusError is a host's answer to a look-up that is an error.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("it answered with status %d", int(s)) }

// passes reports whether the host may say something else when it is asked again.
func (s statusError) passes() bool {
	return s == http.StatusRequestTimeout || s == http.StatusTooManyRequests || s >= 500 && s != http.StatusNotImplemented
}

// tellsNothing reports whether an error means that a host does not list refs for the gateway, whenever it is asked.
func tellsNothing(err error) bool {
	var status statusError
	return errors.Is(err, errNoRefs) || errors.As(err, &status) && !status.passes()
}
