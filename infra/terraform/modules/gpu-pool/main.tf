# GPU machines of one kind, as many as the desired capacity says; at the deadline there are none, and none come after.

locals {
  name = "aiinfra-${var.machines.name}-${var.session}"
  tags = {
    Name              = local.name
    "aiinfra:session" = var.session
    "aiinfra:owner"   = var.owner
    "aiinfra:expires" = var.expires_at
  }
}

resource "aws_launch_template" "this" {
  name                                 = local.name
  image_id                             = var.image
  update_default_version               = true
  instance_initiated_shutdown_behavior = "terminate"
  tags                                 = local.tags

  user_data = base64encode(templatefile("${path.module}/../gpu-node/machine.sh.tftpl", {
    expires_at = var.expires_at
    script     = file("${path.module}/../../../machine.sh")
    mig        = var.mig
    ssh_keys   = var.ssh_keys
    user       = var.user
    setup      = var.setup
  }))

  iam_instance_profile {
    name = var.machines.instance_profile
  }

  network_interfaces {
    security_groups       = [var.machines.security_group]
    delete_on_termination = true
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "enabled"
  }

  block_device_mappings {
    device_name = data.aws_ami.this.root_device_name
    ebs {
      encrypted             = true
      kms_key_id            = var.kms_key
      volume_type           = "gp3"
      volume_size           = var.root_gib
      delete_on_termination = true
    }
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume", "network-interface"])
    content {
      resource_type = tag_specifications.value
      tags          = local.tags
    }
  }
}

data "aws_ami" "this" {
  filter {
    name   = "image-id"
    values = [var.image]
  }
}

resource "aws_autoscaling_group" "this" {
  name                = local.name
  min_size            = var.min
  max_size            = var.max
  vpc_zone_identifier = values(var.machines.subnets)
  # Moves by the queue's length; a plan must not put it back.
  desired_capacity = var.min
  # Machines that are not asked for any more end at once: there is no work on them that is not checkpointed.
  force_delete = true
  # On spot a machine that is likely to be taken is replaced before.
  capacity_rebalance = var.spot

  mixed_instances_policy {
    instances_distribution {
      on_demand_base_capacity                  = 0
      on_demand_percentage_above_base_capacity = var.spot ? 0 : 100
      on_demand_allocation_strategy            = "lowest-price"
      spot_allocation_strategy                 = "price-capacity-optimized"
    }
    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.this.id
        version            = aws_launch_template.this.latest_version
      }
      dynamic "override" {
        for_each = var.instance_types
        content {
          instance_type = override.value
        }
      }
    }
  }

  dynamic "tag" {
    for_each = local.tags
    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  lifecycle {
    ignore_changes = [desired_capacity]
  }
}

# A machine that ended itself would be replaced, so the group ends at the deadline too.
resource "aws_autoscaling_schedule" "deadline" {
  scheduled_action_name  = "deadline"
  autoscaling_group_name = aws_autoscaling_group.this.name
  start_time             = var.expires_at
  min_size               = 0
  max_size               = 0
  desired_capacity       = 0
}
