// Package images maps every image that the upstream specs name to what the cluster of test/cluster has: busybox and
// pause. It imports nothing but the table it changes, and its path sorts before those of the specs, so that Go
// initialises it before any package that copies an image's name into a variable.
package images

import "k8s.io/kubernetes/test/utils/image"

// Mapped is how many images were mapped.
var Mapped = mapAll(image.GetImageConfigs())

// mapAll changes the table in place. An image that is meant not to exist stays as it is.
func mapAll(table map[image.ImageID]image.Config) int {
	n := 0
	for id, c := range table {
		if id == image.InvalidRegistryImage || id == image.AgnhostPrivate {
			continue
		}
		c.SetRegistry("lab.local")
		c.SetName("busybox")
		if id == image.Pause || id == image.AgnhostPrev { // the latter only has to differ from the others
			c.SetName("pause")
		}
		c.SetVersion("1")
		table[id] = c
		n++
	}
	return n
}
