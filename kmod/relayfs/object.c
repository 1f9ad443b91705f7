// SPDX-License-Identifier: GPL-2.0-only
/* Counted objects behind files. */
#include <linux/export.h>
#include <linux/module.h>

#include "relayfs.h"

/**
 * relayfs_object_init() - begin the life of an object
 * @obj: the object
 * @owner: module that @release is in, kept loaded until it has returned
 * @release: called when the last reference is gone; may sleep
 *
 * Return: false if the module is about to be unloaded; the object must not be used then.
 */
bool relayfs_object_init(struct relayfs_object *obj, struct module *owner, void (*release)(struct relayfs_object *obj))
{
	kref_init(&obj->ref);
	obj->release = release;
	obj->refused = NULL;
	obj->owner = owner;
	return try_module_get(owner);
}
EXPORT_SYMBOL_GPL(relayfs_object_init);

/**
 * relayfs_object_get() - take a reference
 * @obj: an object that the caller has a reference to
 */
void relayfs_object_get(struct relayfs_object *obj)
{
	kref_get(&obj->ref);
}
EXPORT_SYMBOL_GPL(relayfs_object_get);

static void object_release(struct kref *ref)
{
	struct relayfs_object *obj = container_of(ref, struct relayfs_object, ref);
	struct module *owner = obj->owner;

	obj->release(obj);
	module_put(owner);	/* not before its code has returned */
}

/**
 * relayfs_object_put() - give a reference back; the last one frees the object
 * @obj: the object
 */
void relayfs_object_put(struct relayfs_object *obj)
{
	kref_put(&obj->ref, object_release);
}
EXPORT_SYMBOL_GPL(relayfs_object_put);
