// SPDX-License-Identifier: GPL-2.0-only
/* Files: made by clients in their directories, with operations of their own, as text, or for the streams of a channel. */
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "internal.h"

static struct relayfs_node *file_node(struct file *file)
{
	return file_inode(file)->i_private;
}

static int attribute_show(struct seq_file *m, void *unused)
{
	struct relayfs_node *node = m->private;

	return node->attr->show(node->obj, m);
}

/**
 * relayfs_pin_owner() - keep the module that serves a file loaded while it is open
 * @inode: the file's
 *
 * A descriptor of the path alone (O_PATH) may outlive the module, and be opened after it.
 *
 * Return: false if the file or the module is going.
 */
bool relayfs_pin_owner(const struct inode *inode)
{
	const struct relayfs_node *node = inode->i_private;
	bool pinned;

	rcu_read_lock();	/* a module is freed a grace period after its files are gone */
	pinned = !READ_ONCE(node->gone) && try_module_get(node->owner);
	rcu_read_unlock();
	return pinned;
}

void relayfs_unpin_owner(const struct inode *inode)
{
	module_put(((const struct relayfs_node *)inode->i_private)->owner);
}

static int attribute_open(struct inode *inode, struct file *file)
{
	struct relayfs_node *node = inode->i_private;
	int err = 0;

	if (!relayfs_pin_owner(inode))
		return -ENODEV;
	if ((file->f_mode & FMODE_READ) && node->attr->show)
		err = single_open(file, attribute_show, node);
	else if (file->f_mode & FMODE_READ)
		err = -EACCES;
	if (err)
		relayfs_unpin_owner(inode);
	return err;
}

static int attribute_release(struct inode *inode, struct file *file)
{
	int err = file->private_data ? single_release(inode, file) : 0;

	relayfs_unpin_owner(inode);
	return err;
}

static int refuse_length(const struct relayfs_node *node, size_t count, size_t max)
{
	char why[RELAYFS_ERROR_LEN];

	if (node->obj && node->obj->refused) {
		snprintf(why, sizeof(why), "%s: %zu bytes in one write, %zu are allowed", node->attr->name, count, max);
		node->obj->refused(node->obj, why);
	}
	return -EMSGSIZE;
}

static ssize_t attribute_write(struct file *file, const char __user *from, size_t count, loff_t *pos)
{
	struct relayfs_node *node = file_node(file);
	size_t max = node->attr->max ?: RELAYFS_STORE_MAX;
	char *text;
	int err;

	if (!node->attr->store)
		return -EACCES;
	if (count > max)
		return refuse_length(node, count, max);
	text = memdup_user_nul(from, count);
	if (IS_ERR(text))
		return PTR_ERR(text);
	err = node->attr->store(node->obj, text, count);
	kfree(text);
	return err ? err : count;
}

/* A file that is open for writing only has no text to seek in; some libraries seek all the same. */
static loff_t attribute_llseek(struct file *file, loff_t offset, int whence)
{
	return file->private_data ? seq_lseek(file, offset, whence) : noop_llseek(file, offset, whence);
}

static const struct file_operations attribute_fops = {
	.owner = THIS_MODULE,
	.open = attribute_open,
	.release = attribute_release,
	.read = seq_read,
	.write = attribute_write,
	.llseek = attribute_llseek,
};

/* As relayfs_create_file(): @node is complete before there is a name, as from then on the file may be opened. */
static int create_file(struct relayfs_dir *dir, const char *name, umode_t mode, const struct file_operations *fops,
		       struct relayfs_object *obj, const void *data, const struct relayfs_attribute *attr)
{
	struct relayfs_node *node = kzalloc(sizeof(*node), GFP_KERNEL);
	struct dentry *dentry = d_alloc_name(dir->dentry, name);
	struct inode *inode = NULL;

	if (node && dentry) {
		node->mode = mode;
		inode = relayfs_make_inode(dentry->d_sb, S_IFREG, node);
	}
	if (!inode) {
		dput(dentry);
		kfree(node);
		return -ENOMEM;
	}
	if (obj)
		relayfs_object_get(obj);
	node->obj = obj;
	node->owner = dir->owner;
	node->data = data;
	node->attr = attr;
	node->dentry = dentry;
	inode->i_fop = fops;
	compat_add(dentry, inode);
	list_add_tail(&node->link, &dir->children);
	return 0;
}

/**
 * relayfs_create_file() - make a file with operations of its own
 * @dir: from the client's populate or fill
 * @name: of the file
 * @mode: permissions of the owner; those of others follow from the mount options
 * @fops: its operations, with the client's module as owner
 * @obj: kept while the inode lives; may be NULL
 * @data: what relayfs_file_data() gives
 *
 * Return: 0 or -ENOMEM.
 */
int relayfs_create_file(struct relayfs_dir *dir, const char *name, umode_t mode, const struct file_operations *fops,
			struct relayfs_object *obj, const void *data)
{
	return create_file(dir, name, mode, fops, obj, data, NULL);
}
EXPORT_SYMBOL_GPL(relayfs_create_file);

/**
 * relayfs_file_data() - what a file was made for
 * @inode: of a file that relayfs_create_file() made
 */
const void *relayfs_file_data(const struct inode *inode)
{
	return ((const struct relayfs_node *)inode->i_private)->data;
}
EXPORT_SYMBOL_GPL(relayfs_file_data);

/**
 * relayfs_create_attributes() - make small files of text
 * @dir: from the client's populate or fill
 * @attrs: what they are
 * @n: how many
 * @obj: first argument of their operations
 *
 * Return: 0 or -ENOMEM.
 */
int relayfs_create_attributes(struct relayfs_dir *dir, const struct relayfs_attribute *attrs, size_t n,
			      struct relayfs_object *obj)
{
	size_t i;

	for (i = 0; i < n; i++) {
		int err = create_file(dir, attrs[i].name, attrs[i].mode, &attribute_fops, obj, NULL, &attrs[i]);

		if (err)
			return err;
	}
	return 0;
}
EXPORT_SYMBOL_GPL(relayfs_create_attributes);

static int create_each(struct relayfs_dir *dir, struct relayfs_channel *chan, const char *name,
		       const struct file_operations *fops)
{
	struct relayfs_stream *s;
	unsigned int i;

	relayfs_for_each_stream(s, i, chan) {
		char file[64];
		int err;

		snprintf(file, sizeof(file), "%s_%d", name, s->cpu);
		err = relayfs_create_file(dir, file, 0400, fops, &chan->obj, s);
		if (err)
			return err;
	}
	return 0;
}

/**
 * relayfs_create_streams() - make the files that a channel's packets are read from
 * @dir: from the client's populate or fill
 * @chan: the channel
 * @name: files are called @name_0, @name_1, …
 *
 * Return: 0 or -ENOMEM.
 */
int relayfs_create_streams(struct relayfs_dir *dir, struct relayfs_channel *chan, const char *name)
{
	return create_each(dir, chan, name, &relayfs_stream_fops);
}
EXPORT_SYMBOL_GPL(relayfs_create_streams);

/**
 * relayfs_create_rings() - make files by which the memory of a channel's rings is mapped
 * @dir: from the client's populate or fill
 * @chan: the channel
 * @name: files are called @name_0, @name_1, …
 *
 * They can be opened, read-only, while there is a snapshot that has not been read, or the channel is stopped.
 *
 * Return: 0 or -ENOMEM.
 */
int relayfs_create_rings(struct relayfs_dir *dir, struct relayfs_channel *chan, const char *name)
{
	return create_each(dir, chan, name, &relayfs_ring_fops);
}
EXPORT_SYMBOL_GPL(relayfs_create_rings);
